from django.urls import path

from .views import devices, invitations, profiles, setup

urlpatterns = [
    path("setup/", setup.setup, name="setup"),
    path("invitations/", invitations.invitations, name="invitations"),
    path("invitations/<int:invitation_id>/revoke/", invitations.revoke, name="invitation_revoke"),
    path("invite/<str:token>/", invitations.accept, name="invite"),
    path("profile/", profiles.edit, name="profile"),
    path("profile/devices/", devices.devices, name="devices"),
    path("profile/devices/sign-out/", devices.sign_out, name="device_sign_out"),
    path("profile/devices/sign-out-others/", devices.sign_out_others, name="device_sign_out_others"),
    path("people/<int:user_id>/", profiles.person, name="person"),
    path("avatars/<str:name>", profiles.avatar, name="avatar"),
]
