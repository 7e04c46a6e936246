"""Convert models from elsewhere to ONNX, in the environment of the framework that wrote them."""
