"""A site with a limited view, for the tests of limits."""

from django.http import HttpResponse
from django.urls import path

from intellicolab import urls
from ratelimit.limits import enforce, limit


@limit("search")
def search(request):
    return HttpResponse("found")


def elsewhere(request):
    enforce("search", request)
    return HttpResponse("found")


urlpatterns = [path("search", search), path("elsewhere", elsewhere), *urls.urlpatterns]
