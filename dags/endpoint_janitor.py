"""Removes **throw-away endpoints of SageMaker that outlived their lease**, with their configurations and models.

A comparison removes its endpoints itself, whatever fails in it. What is left when Airflow itself was lost would cost
money until somebody sees it; this DAG asks SageMaker, not Airflow, and so finds that, too. Only what Stepzero made for
a comparison is touched: its name begins with `stepzero-lease-`.

Without `sagemaker` in the environment there is no such DAG: there the endpoint host is the janitor.
"""

from stepzero_airflow.endpoints import janitor

endpoint_janitor = janitor(__doc__)
