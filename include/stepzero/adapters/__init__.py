"""One module per outside system: the only importers of fsspec, pyspark, pydeequ and mlflow."""
