"""Reading MATLAB and HDF5 files: variables by name, tables, items and the records of a manifest."""
