"""Pages of ours within Airflow's own, behind its authorisation."""
