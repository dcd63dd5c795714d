"""What has to be there before a job can start: images and clones of repositories."""
