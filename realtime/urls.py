from django.urls import path

from . import export_views, views

urlpatterns = [
    path("", views.home, name="home"),
    path("sidebar", views.sidebar, name="sidebar"),
    path("rooms/", views.directory, name="directory"),
    path("rooms/new/", views.room_new, name="room_new"),
    path("rooms/<int:room_id>/", views.room, name="room"),
    path("rooms/<int:room_id>/messages", views.room_messages, name="room_messages"),
    path("rooms/<int:room_id>/messages/<int:number>", views.room_message, name="room_message"),
    path("rooms/<int:room_id>/read", views.room_read, name="room_read"),
    path("rooms/<int:room_id>/settings/", views.room_settings, name="room_settings"),
    path("rooms/<int:room_id>/join", views.room_join, name="room_join"),
    path("rooms/<int:room_id>/leave", views.room_leave, name="room_leave"),
    path("rooms/<int:room_id>/members", views.room_members, name="room_members"),
    path("rooms/<int:room_id>/members/<int:user_id>/remove", views.member_remove, name="member_remove"),
    path("rooms/<int:room_id>/members/<int:user_id>/owner", views.member_owner, name="member_owner"),
    path("rooms/<int:room_id>/archive", views.room_archive, name="room_archive"),
    path("rooms/<int:room_id>/export/", export_views.room_export, name="room_export"),
    path("rooms/<int:room_id>/export/state", export_views.room_export_state, name="room_export_state"),
    path("rooms/<int:room_id>/export/cancel", export_views.room_export_cancel, name="room_export_cancel"),
    path("rooms/<int:room_id>/export/file", export_views.room_export_file, name="room_export_file"),
    path("people/", views.people, name="people"),
    path("people/<int:user_id>/direct", views.direct, name="direct"),
]
