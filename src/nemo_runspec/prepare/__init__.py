"""What has to be there before a job can start: images, clones of repositories, and a look at whether all is well."""
