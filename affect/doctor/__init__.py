"""What is wrong, odd or worth knowing about a dataset's copy on disk, with the remedy: python -m affect.doctor."""
