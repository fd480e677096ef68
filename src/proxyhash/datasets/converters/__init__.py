"""One published data set, or one form that data sets are passed on in, per file."""
