"""The accounts job: requests and account attributes in; contributions, account windows and findings out."""
