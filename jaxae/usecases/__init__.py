"""What the post says autoencoders are for: one file a use case, measured against the usual tool."""
