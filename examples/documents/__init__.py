"""A folder of documents becomes a full-text index."""
