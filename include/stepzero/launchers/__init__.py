"""Starting stages: as a child process, through spark-submit, from a preloaded server, or your own way."""
