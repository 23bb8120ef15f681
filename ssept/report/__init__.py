"""What people read: tables made from saved runs."""
