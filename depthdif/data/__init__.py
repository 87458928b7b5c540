"""Ocean fields, patches, profiles and batches: everything between a CF file and a training step."""
