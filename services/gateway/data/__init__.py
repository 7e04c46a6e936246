"""Images that people keep on the server to train on or predict: data sets, uploads, folders."""
