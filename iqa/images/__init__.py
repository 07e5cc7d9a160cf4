"""From a file or folder to pixels, and from pixels to what a network sees.

- `reading`: `read_image`: any image file -> RGB uint8.
- `colour`, `tiff`, `avif`, `repair`: what `reading` needs for colour profiles, odd TIFFs, apertures and broken metadata.
- `heic`, `raw`: HEIC and the raw files of cameras, by extras.
- `geometry`: `Geometry`, what a network sees of a picture; patches, grids, `read_resized`, `resize`, `views`.
- `picture`: `Picture`, which several networks look at; `pooling`: how much each patch counts.
- `finding`: `named_images`, `list_images`, `images_below`: which files are meant; `sample_photograph`.
- `stored`: `StoredFile`, `stored_files`, `fetch`: pictures on shared storage, which URLs name.
- `capture`: `read_time`, when a picture was taken; `probe`: `draw_probe`, a picture to compare runtimes with.

Importing this package loads none of them.
"""
