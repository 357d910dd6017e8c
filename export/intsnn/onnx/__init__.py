"""The graph as model.onnx: written, read back, and run in onnxruntime."""
