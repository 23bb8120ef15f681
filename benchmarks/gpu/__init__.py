"""The network on an NVIDIA GPU: precisions, CUDA graphs, the rewrite and a kernel for the best."""
