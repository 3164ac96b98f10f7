"""A run for other programs: AIPerf's summary, JUnit XML and Markdown for CI, MLflow. None of them decides anything."""
