"""What a study finds: charts and small tables from the rows of its report, and a summary that has all of it."""
