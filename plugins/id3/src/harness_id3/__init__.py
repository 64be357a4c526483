"""ID3: attribute conditioning, ID-preserving loss and adjusted-score sampling."""
