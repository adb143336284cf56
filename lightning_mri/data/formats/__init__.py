"""What readers of formats share: pieces of files, read lazily and distrusted."""
