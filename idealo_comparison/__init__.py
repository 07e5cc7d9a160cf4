"""The comparison with the models of idealo/image-quality-assessment."""
