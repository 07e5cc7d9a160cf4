"""Technical quality: the model trained on TID2013."""
