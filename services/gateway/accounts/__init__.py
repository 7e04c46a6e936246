"""Who may come in and do what: the middleware, the login and OpenID Connect.

The people themselves are kept by `micserve.accounts`.
"""

from services.gateway.accounts.people import Accounts, open_accounts

__all__ = ["Accounts", "open_accounts"]
