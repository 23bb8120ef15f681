"""The model on Triton Inference Server: its repository, the server, and perf_analyzer."""
