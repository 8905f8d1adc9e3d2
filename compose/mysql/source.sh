# Run by the image's entrypoint, once, in its own shell: docker_process_sql is the entrypoint's.
docker_process_sql <<SQL
CREATE USER binferry@'%' IDENTIFIED BY '$(cat /run/secrets/source)';
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO binferry@'%';
CREATE USER demo@localhost;
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.* TO demo@localhost;
INSERT INTO shop.item (name, price) VALUES ('kettle', 24.90), ('teapot', 18.50);
SQL
