"""Files of torch.save and of pickle, read as data and without torch: nothing in them is imported, made or run."""
