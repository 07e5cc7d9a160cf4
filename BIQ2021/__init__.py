"""Quality: what people would say of a photograph, the model trained on BIQ2021."""
