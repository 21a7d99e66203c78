"""Files, S3, SQL, Ray: the ports, carried out."""
