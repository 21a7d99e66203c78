"""Images and labels: sources, decoding within limits, versions, splits, embeddings."""
