"""A folder of pictures with the names that people give them."""

import numpy as np
from PIL import Image

# file: (height, width) as shown
PICTURES = {'a/b c.jpg': (30, 40), 'a/plain.png': (20, 24), 'img.v2.JPG': (32, 48), 'ünï (1).jpeg': (25, 25),
            'd.bmp': (16, 18), 'turned.jpg': (50, 20)}
IDS = {'a__b_c': 'a/b c.jpg', 'a__plain': 'a/plain.png', 'd': 'd.bmp', 'img_v2': 'img.v2.JPG', 'turned': 'turned.jpg',
       'ünï_1_': 'ünï (1).jpeg'}


def write_pictures(folder, pictures=PICTURES):
    """Noise, so that equal pixels mean the same picture; ``turned.jpg`` lies on its side and says so in its EXIF."""
    rng = np.random.default_rng(0)
    for name, (height, width) in pictures.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        turned = path.stem == 'turned'
        shape = (width, height, 3) if turned else (height, width, 3)
        picture, exif = Image.fromarray(rng.integers(0, 256, shape, np.uint8)), Image.Exif()
        exif[274] = 6 if turned else 1
        picture.save(path, **({} if path.suffix == '.bmp' else {'exif': exif}))
    return folder


def write_mask(path, values, colours=False):
    """A mask of numbers, or of ``#rrggbb`` numbers as colours."""
    values = np.asarray(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    if colours:
        values = np.stack([values >> 16, values >> 8 & 255, values & 255], -1)
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path
