// As headers.c, and callable from C++: the names must not be mangled.
#include SXT_TEST_HEADER
#include SXT_TEST_HEADER

int main() {
    sxt_norm_desc desc = {};
    return sxt_result_name(sxt_norm(nullptr, &desc))[0] != 'S';
}
