"""Pages of the report: story, explorer and the record of the run."""
