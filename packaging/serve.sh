#!/bin/sh
# What SageMaker starts in a container, by this name.
exec python -P -m stepzero.serving.sagemaker
