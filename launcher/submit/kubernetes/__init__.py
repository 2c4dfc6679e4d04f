"""Jobs of Kubernetes: a TrainJob of Kubeflow or an Indexed Job, checked by the published models, and `kubectl`."""
