# Run by the image's entrypoint, once, in its own shell: docker_process_sql is the entrypoint's.
docker_process_sql <<SQL
CREATE USER binferry@'%' IDENTIFIED BY '$(cat /run/secrets/target)';
GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON shop.* TO binferry@'%';
GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON binferry.* TO binferry@'%';
CREATE USER demo@localhost;
GRANT SELECT ON shop.* TO demo@localhost;
SQL
