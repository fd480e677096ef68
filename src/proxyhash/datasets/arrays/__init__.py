"""Sets that come as arrays in `.mat` and `.h5` files, as the literature passes them on.

These are the files of DCMH (`FLICKR-25K.mat`, or `IAll`, `YAll`, `LAll` and `FAll` in files of
their own), those of CLIP-based methods since DCHMT (`index.mat`, `caption.mat`, `label.mat`), and
the ones that are cut into query, train and database (`ImgQuery`, `TagTrain`, `L_te`, `train_L`,
`databaseL`...). `naming.py` has the names that are understood.
"""

from proxyhash.datasets.arrays.lists import TEXT_LISTS
from proxyhash.datasets.arrays.packed import ARRAYS

__all__ = ["ARRAYS", "TEXT_LISTS"]
