"""From a file or folder to pixels, and from pixels to what a network sees.

- `reading`: `read_image`: any image file -> RGB uint8.
- `containers`, `tiff`, `raw`, `colour`: what `reading` needs for what Pillow leaves out, TIFFs, raw files and colours.
- `geometry`: `Geometry`, what a network sees of a picture; patches, grids, `read_resized`, `resize`, `views`.
- `picture`: `Picture`, which several networks look at; `pooling`: how much each patch counts.
- `finding`: `named_images`, `list_images`, `images_below`: which files are meant; `sample_photograph`.
- `stored`: `StoredFile`, `stored_files`, `fetch`: pictures on shared storage, which URLs name.
- `capture`: `read_time`, when a picture was taken; `probe`: `draw_probe`; `thumbnails`.

Importing this package loads none of them.
"""
