"""SQL: tenants, projects, keys and the audit log; SQLite by default, PostgreSQL by URL."""
