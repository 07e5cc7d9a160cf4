"""What people said of pictures, and the files that say it; importing this package loads no module of it."""
