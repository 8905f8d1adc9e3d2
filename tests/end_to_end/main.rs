//! End to end, on real servers, through the program itself: what a user does, and what goes wrong for users.

mod accounts;
mod binferry;
mod conflicts;
mod drawn;
mod faults;
mod files;
mod follow;
mod gtid_sets;
mod histories;
mod images;
mod judge;
mod kafka;
mod load;
mod logs;
mod mariadb;
mod mariadb_files;
mod mariadb_images;
mod mariadb_statements;
mod mariadb_xa;
mod payload;
mod refusals;
mod sources;
mod to_mariadb;
mod types;
mod values;
mod xa;
