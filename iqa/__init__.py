"""What the scripts share: from scores and images at the bottom to the training session at the top."""
