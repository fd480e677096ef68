"""Search on GPUs, in Triton: one GPU, several, or a process for each."""
