"""The steps of a job, each a process of the platform's job service: download, train, upload, register."""
