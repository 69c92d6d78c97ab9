-- See to it that what was deleted cannot be read from the server's files. A script cannot: they are the server's to rewrite.
-- (operation Expunge)
--
-- Reply 0

return 0
