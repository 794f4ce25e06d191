"""Data sets of modulations as HDF5 files: see docs/functa.md."""

import io
from collections.abc import Mapping

SUFFIXES = (".h5", ".hdf5")


def to_bytes(columns: Mapping[str, object], attributes: Mapping[str, object]) -> bytes:
    """The bytes of a file. columns: arrays and lists of strings, one dataset each."""
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for name, values in columns.items():
            file.create_dataset(name, data=values)
        file.attrs.update(attributes)
    return out.getvalue()
