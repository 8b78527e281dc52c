"""Ways to send mail, as email backends of Django's: to files, and by SMTP.

Both let the sender of an email know what may be repeated: a file has the name of its email, so writing it again makes
no second one; a mail server's answer says whether it has taken an email, will never take it, or left that open.
"""
