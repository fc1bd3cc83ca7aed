// Public headers stand alone: this file includes one, twice, and nothing else; built as C11 and, by headers.cpp, as
// C++.
#include SXT_TEST_HEADER
#include SXT_TEST_HEADER

int main(void) {
    sxt_norm_desc desc = {0};
    return sxt_result_name(sxt_norm(0, &desc))[0] != 'S';
}
