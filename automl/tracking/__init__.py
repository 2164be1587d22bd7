"""Studies shown in other programs while they run: TensorBoard, MLflow."""
