"""What the services of tandem share: the volume's protocol, its records, and the errors. It knows no service."""
